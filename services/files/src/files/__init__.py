"""Files, uploads and attachments."""
