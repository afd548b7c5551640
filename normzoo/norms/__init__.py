"""The normalizers, one file each. Importing this package registers them; a new one needs its file and its line here."""

# The order here is the order of every table and legend, the five of the suite first, so it is not sorted.
# ruff: noqa: I001
from normzoo.norms.batch_norm import BatchNorm
from normzoo.norms.sync_batch_norm import SyncBatchNorm
from normzoo.norms.layer_norm import LayerNorm
from normzoo.norms.group_norm import GroupNorm
from normzoo.norms.batch_renorm import BatchRenorm
from normzoo.norms.sync_batch_renorm import SyncBatchRenorm
from normzoo.norms.layer_norm_channels import LayerNormChannels
from normzoo.norms.none import NoNorm

__all__ = [
    "BatchNorm",
    "BatchRenorm",
    "GroupNorm",
    "LayerNorm",
    "LayerNormChannels",
    "NoNorm",
    "SyncBatchNorm",
    "SyncBatchRenorm",
]
