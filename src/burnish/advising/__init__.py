"""`burnish advise`: the cheap systems measured, small trainings, and one recommendation. The sealed test is not read."""
