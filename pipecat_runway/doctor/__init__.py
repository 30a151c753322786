"""Finds what is wrong with an installation and its settings, and what to do about it.

:func:`~pipecat_runway.doctor.examination.examine` spends nothing. A
:class:`~pipecat_runway.doctor.trial.Trial` speaks through a real session, and is billed.
"""
