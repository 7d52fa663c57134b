"""The web page and the HTTP service. This process imports neither torch nor an image decoder: workers do (`worker`)."""
