"""The product and its simulator, judged by code of others."""
