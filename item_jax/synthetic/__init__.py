"""Draws synthetic catalogues: products, their titles and images."""
