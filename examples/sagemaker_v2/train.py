"""A training script as SageMaker runs it: logistic regression, its accuracy printed after each epoch."""

import argparse
import os
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--scale", choices=["none", "standard"], default="standard")
arguments = parser.parse_args()

files = sorted(Path(os.environ["SM_CHANNEL_TRAIN"]).glob("*.csv"))
table = np.concatenate([np.loadtxt(file, delimiter=",", skiprows=1) for file in files])
x, y = table[:, 1:], table[:, 0]
if arguments.scale == "standard":
    x = (x - x.mean(0)) / x.std(0)

held_back = len(x) // 5
weights, bias = np.zeros(x.shape[1]), 0.0
for epoch in range(arguments.epochs):
    error = 1 / (1 + np.exp(-(x[held_back:] @ weights + bias).clip(-50, 50))) - y[held_back:]
    weights -= arguments.lr * x[held_back:].T @ error / len(error)
    bias -= arguments.lr * error.mean()
    accuracy = ((x[:held_back] @ weights + bias > 0) == y[:held_back]).mean()
    print(f"epoch {epoch}: validation accuracy: {accuracy:.4f}", flush=True)

np.savez(Path(os.environ["SM_MODEL_DIR"]) / "weights.npz", weights=weights, bias=bias)
