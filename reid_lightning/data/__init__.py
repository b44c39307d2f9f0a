"""Images on disk become one table, and the table becomes batches."""
