"""Load scenarios of one account, open loop, judged at the subscriber: ``make load``."""
