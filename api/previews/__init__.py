"""POST /v1/files/{id}/preview: rows of a file as training sees them. A server renders them."""
