"""The packed store: codec, writer, reader."""
