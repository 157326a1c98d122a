"""The network: backbone with a delta attached, pooling and head; a batch in, logits out."""

from sklearn_lntune.network.batch import Batch
from sklearn_lntune.network.building import build_network
from sklearn_lntune.network.computing import compute, in_memory
from sklearn_lntune.network.deltas import check_deltas
from sklearn_lntune.network.native_network import NativeNetwork
from sklearn_lntune.network.network import Network

__all__ = [
    "Batch",
    "NativeNetwork",
    "Network",
    "build_network",
    "check_deltas",
    "compute",
    "in_memory",
]
