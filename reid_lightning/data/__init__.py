"""Images on disk become a table, and the table becomes batches."""
