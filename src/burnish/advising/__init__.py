"""`burnish advise`: the cheap systems measured, small trainings, and one recommendation. The test stays sealed."""

EXAMPLES = 200  # rows held out to measure on
MINUTES = 10.0  # for all small trainings
