"""Measuring tools of the test-suite: marked speech, recorded pipelines, a paced transport."""
