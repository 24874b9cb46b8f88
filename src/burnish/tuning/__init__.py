"""`burnish tune`: a search for training settings on the validation part; the sealed test is never read."""
