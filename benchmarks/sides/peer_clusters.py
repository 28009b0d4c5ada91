"""scikit-learn and faiss: k-means of log-mel frames, the same number of Lloyd's iterations."""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from serve import audio, serve
from sklearn.cluster import KMeans

ITERATIONS = 20


def points(task: dict[str, Any]) -> np.ndarray:
    """Windows of the audio: as many numbers as frames of features have, and as uneven."""
    waves = audio(task).numpy()
    return np.ascontiguousarray(waves[:, : waves.shape[1] // 80 * 80].reshape(-1, 80))


def sklearn(task: dict[str, Any]) -> Callable[[], float]:
    values = points(task)

    def step() -> float:
        model = KMeans(task["codes"], n_init=1, max_iter=ITERATIONS, tol=0.0, random_state=0)
        return float(model.fit(values).inertia_) / len(values)

    return step


def faiss_kmeans(task: dict[str, Any]) -> Callable[[], float]:
    values = points(task)
    faiss.omp_set_num_threads(task["threads"])

    def step() -> float:
        model = faiss.Kmeans(
            values.shape[1], task["codes"], niter=ITERATIONS, max_points_per_centroid=10**9, seed=0
        )
        model.train(values)
        return float(model.obj[-1]) / len(values)

    return step


if __name__ == "__main__":
    serve({"sklearn": sklearn, "faiss": faiss_kmeans})
