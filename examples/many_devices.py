"""
One fit on many devices
=======================

The same script on one GPU, on all GPUs of a machine, or on several machines. Run by itself, it
is the plain fit. Hugging Face Accelerate starts it once a device::

    accelerate launch --num_processes 4 examples/many_devices.py
"""

# %%
# Every process loads the same data
# ---------------------------------
# In the same order: the processes compare digests before they begin.

import matplotlib.pyplot as plt
from accelerate import PartialState

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets
from sklearn_lntune.inspection import ParameterDisplay

X, y = load_support_tickets(subset="train", return_X_y=True)

# %%
# The fit
# -------
# Each process computes a share of every batch; ``batch_size`` is that of the whole batch, so the
# result does not depend on how many there are. A short fit, so that it runs at once.

clf = LNTunedTransformerClassifier(
    distributed=True, batch_size=16, max_epochs=1, min_steps=0, random_state=0
)
clf.fit(X[:64], y[:64])

# %%
# The answer
# ----------
# Every process holds the same fitted classifier, and predicts by itself. One is enough to print
# and to write files.

if PartialState().is_main_process:
    print(f"{clf.n_steps_} steps, loss {clf.log_[-1]['train_loss']:.4f}")
    if "bytes_a_step" in clf.history_:
        print(f"{clf.history_['bytes_a_step'].iloc[-1] / 1000:.1f} kB summed a step")
    print(clf.predict(["It froze again, and the invoice is wrong."]))

# %%
# What the processes exchange in each step are the gradients of these parameters, and no others.

if PartialState().is_main_process:
    ParameterDisplay.from_estimator(clf)
    plt.show()
