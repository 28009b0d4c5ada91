"""scikit-learn and faiss: k-means of windows of audio, the same number of Lloyd's iterations.

scikit-learn starts as ours does, with k-means++ (from all points, ours from some), faiss from random points.
"""

from typing import Any

import faiss
from serve import ITERATIONS, Work, points, serve
from sklearn.cluster import KMeans


def sklearn(task: dict[str, Any]) -> Work:
    values = points(task).numpy()

    def step() -> float:
        model = KMeans(task["codes"], n_init=1, max_iter=ITERATIONS, tol=0.0, random_state=0)
        return float(model.fit(values).inertia_) / len(values)

    return Work(step)


def faiss_kmeans(task: dict[str, Any]) -> Work:
    values = points(task).numpy()
    faiss.omp_set_num_threads(task["threads"])

    def step() -> float:
        model = faiss.Kmeans(
            values.shape[1], task["codes"], niter=ITERATIONS, max_points_per_centroid=10**9, seed=0
        )
        model.train(values)
        return float(model.obj[-1]) / len(values)

    return Work(step)


if __name__ == "__main__":
    serve({"sklearn": sklearn, "faiss": faiss_kmeans})
