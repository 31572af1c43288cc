"""A random forest as plain arrays: fitted by scikit-learn, evaluated and stored without it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.errors import MissingExtra
from perfmodel.arrays import FloatArray

Int32Array = npt.NDArray[np.int32]
TREES = 100
LEAF = 3
FEATURE_SHARE = 0.4
# Below this many rows threads cost more than they save.
WORTH_MORE_CORES = 2000


@dataclass(frozen=True, slots=True)
class Forest:
    """All trees' nodes one after another; a leaf's children are itself."""

    roots: Int32Array
    left: Int32Array
    right: Int32Array
    feature: Int32Array
    threshold: npt.NDArray[np.float64]
    value: FloatArray
    """Shape (nodes, outputs): a mean, or the shares of the classes."""
    depth: int

    def by_tree(self, matrix: FloatArray) -> FloatArray:
        """Every tree's answer, shape (trees, rows, outputs)."""
        # scikit-learn grows its trees on single precision; so must the comparison be.
        single = matrix.astype(np.float32).astype(np.float64)
        node = np.repeat(self.roots[:, None], len(single), axis=1)
        rows = np.arange(len(single))
        for _ in range(self.depth):
            goes_left = single[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        answers: FloatArray = self.value[node]
        return answers

    def predict(self, matrix: FloatArray) -> FloatArray:
        """The trees' mean, shape (rows, outputs)."""
        mean: FloatArray = self.by_tree(matrix).mean(axis=0)
        return mean

    def arrays(self) -> dict[str, np.ndarray]:
        names = ("roots", "left", "right", "feature", "threshold", "value")
        return {name: getattr(self, name) for name in names} | {"depth": np.array(self.depth)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Forest":
        """Rebuild a forest, refusing arrays whose nodes would lead out of it."""
        forest = cls(
            roots=arrays["roots"],
            left=arrays["left"],
            right=arrays["right"],
            feature=arrays["feature"],
            threshold=arrays["threshold"],
            value=arrays["value"],
            depth=int(arrays["depth"]),
        )
        nodes = len(forest.threshold)
        sizes = {len(each) for each in (forest.left, forest.right, forest.feature, forest.value)}
        inside = all(
            each.size and each.min() >= 0 and each.max() < nodes
            for each in (forest.roots, forest.left, forest.right)
        )
        if sizes != {nodes} or not inside or forest.feature.min() < 0 or forest.depth < 0:
            raise ValueError("its trees are damaged")
        return forest


def from_sklearn(ensemble: Any) -> Forest:
    """Take the trees out of a fitted RandomForestRegressor or RandomForestClassifier."""
    trees = [each.tree_ for each in ensemble.estimators_]
    offsets = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    left, right, feature = [], [], []
    for tree, offset in zip(trees, offsets, strict=True):
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        left.append(np.where(leaf, own, tree.children_left) + offset)
        right.append(np.where(leaf, own, tree.children_right) + offset)
        feature.append(np.where(leaf, 0, tree.feature))
    return Forest(
        roots=offsets.astype(np.int32),
        left=np.concatenate(left).astype(np.int32),
        right=np.concatenate(right).astype(np.int32),
        feature=np.concatenate(feature).astype(np.int32),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        value=np.concatenate([tree.value[:, 0, :] for tree in trees]),
        depth=max(int(tree.max_depth) for tree in trees),
    )


def fit_regressor(
    matrix: FloatArray, target: FloatArray, *, weight: FloatArray, seed: int
) -> tuple[Forest, FloatArray]:
    """Fit the mean; returns the forest and its importances."""
    ensemble = _sklearn().RandomForestRegressor(
        n_estimators=TREES,
        min_samples_leaf=LEAF,
        max_features=FEATURE_SHARE,
        random_state=seed,
        n_jobs=_jobs(matrix),
    )
    ensemble.fit(matrix, target, sample_weight=weight)
    return from_sklearn(ensemble), np.asarray(ensemble.feature_importances_)


def fit_classifier(
    matrix: FloatArray, label: np.ndarray, *, weight: FloatArray, seed: int
) -> tuple[Forest, tuple[str, ...]]:
    """Fit class shares; returns the forest and the classes in the order of its outputs."""
    ensemble = _sklearn().RandomForestClassifier(
        n_estimators=TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=_jobs(matrix)
    )
    ensemble.fit(matrix, label, sample_weight=weight)
    return from_sklearn(ensemble), tuple(str(name) for name in ensemble.classes_)


def _jobs(matrix: FloatArray) -> int:
    return -1 if len(matrix) > WORTH_MORE_CORES else 1


def _sklearn() -> Any:
    try:
        from sklearn import ensemble
    except ImportError:
        raise MissingExtra("fitting a predictor", "analysis") from None
    return ensemble
