"""How good predictions and generated images are."""

from scratchnet.errors import explain
from scratchnet.metrics.classification import accuracy, confusion_matrix
from scratchnet.metrics.coverage import ClassCoverage, class_coverage
from scratchnet.metrics.features import FeatureDistance, FeatureNetwork, Features
from scratchnet.metrics.frechet import frechet_distance, frechet_gaussians
from scratchnet.metrics.image_quality import psnr, ssim
from scratchnet.metrics.kernel_distance import kernel_distance
from scratchnet.metrics.mean import Mean
from scratchnet.metrics.memorisation import MemorisationAudit, audit_memorisation

__all__ = [
    "ClassCoverage",
    "FeatureDistance",
    "FeatureNetwork",
    "Features",
    "Mean",
    "MemorisationAudit",
    "accuracy",
    "audit_memorisation",
    "class_coverage",
    "confusion_matrix",
    "frechet_distance",
    "frechet_gaussians",
    "kernel_distance",
    "psnr",
    "ssim",
]

explain(globals())
