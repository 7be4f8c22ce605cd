"""Errors that a user sees. Each message says what was expected, what came and what to do next."""


class LidarMtError(Exception):
    """Base of all errors that programs print without a traceback."""


class ConfigError(LidarMtError):
    """A configuration value is missing, misspelt or out of range."""


class DataError(LidarMtError):
    """A file, table, store or record is missing, short or damaged."""


class ResultError(LidarMtError):
    """A result file does not fit the split it is scored on."""


class CheckpointError(LidarMtError):
    """A checkpoint is missing, damaged or does not fit the model."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint is there, and cannot be read or is none."""


class TrainingError(LidarMtError):
    """Training cannot go on: losses or weights that are no numbers."""


class ParityError(LidarMtError):
    """Two forms of a network that must be equal are not."""


class ArtefactError(LidarMtError):
    """An exported artefact is missing, damaged or does not fit what it is used for."""
