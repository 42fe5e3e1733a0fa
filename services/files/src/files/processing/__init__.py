"""What is in an uploaded file: its real type, facts, thumbnails, text. Nothing here trusts the bytes it reads."""
