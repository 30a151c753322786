"""What is counted: the test suite runs these briefly, the benchmarks at full length."""
