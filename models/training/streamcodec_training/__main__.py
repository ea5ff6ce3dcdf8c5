"""`torchrun -m streamcodec_training ...`: the same command as `streamcodec train`, for several processes."""

from .cli import train

train(prog_name="streamcodec train")
