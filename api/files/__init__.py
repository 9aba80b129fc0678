"""Files that clients upload and jobs write. An upload is checked while it streams into the object store."""
