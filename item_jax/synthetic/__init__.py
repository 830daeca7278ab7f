"""What the invented catalogue is made of: products, titles, photos."""
