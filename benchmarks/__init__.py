"""What the test suite counts briefly, at full length."""
