"""Steps on CUDA arrays. Nothing here is imported before one turns up."""
