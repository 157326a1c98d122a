"""
Tuning methods and their sums
=============================

What each method trains, how methods add up, and a search over sums and their parameters.
"""

# %%
# What is trained
# ---------------
# A report needs no weights: the configuration of a backbone is enough. Here, BERT-large.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.model_selection import GridSearchCV
from transformers import BertConfig

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.datasets import load_support_tickets
from sklearn_lntune.inspection import ParameterDisplay, parameter_report
from sklearn_lntune.tuning import AdapterTuning, LayerNormTuning, PrefixTuning

large = BertConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
totals = {}
for tuning in ("layernorm", "bias", "lora", "prefix-adapter-mha-ln", "houlsby", "full"):
    report = parameter_report(LNTunedTransformerClassifier(tuning=tuning), config=large)
    totals[tuning] = report.iloc[-1][["parameters", "share"]]
print(pd.DataFrame(totals).T)

# %%
# The paper's best sum, by method and site, in the terms of PEFT-Ref
# ------------------------------------------------------------------

best = LayerNormTuning() + PrefixTuning(8) + AdapterTuning(8, sites="attention")
print(parameter_report(LNTunedTransformerClassifier(tuning=best)).to_string())
ParameterDisplay.from_estimator(LNTunedTransformerClassifier(tuning=best))
plt.show()

# %%
# A search over sums and their parameters
# ---------------------------------------
# A few steps on a few rows, so that it runs at once; leave out the last three arguments for
# a real fit.

X, y = load_support_tickets(subset="train", return_X_y=True)
clf = LNTunedTransformerClassifier(
    tuning="layernorm+prefix", random_state=0, max_epochs=1, min_steps=0, batch_size=8
)
grid = [
    {"tuning__prefix__length": [4, 8]},
    {"tuning": ["layernorm", best]},
]
search = GridSearchCV(clf, grid, cv=2).fit(X[:80], y[:80])
table = pd.DataFrame(search.cv_results_)[["params", "mean_test_score"]]
print(table.to_string())
