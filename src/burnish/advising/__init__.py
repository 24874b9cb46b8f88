"""`burnish advise`: the cheap systems measured, small trainings, and one recommendation. The test stays sealed."""
