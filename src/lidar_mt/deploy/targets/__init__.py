"""What an artefact is compiled for: one module per compiler."""
