"""Ours beside its rivals: the same speech, the same painted avatar, the same LiveKit server.

Each party's client lives in a process of its own (`party.py` is its inside, `stage.py` what it
meets outside). A process writes down what came out and when (`record.py`); what that means is
worked out afterwards, in the process that began it all, by one module per measurement.
"""
