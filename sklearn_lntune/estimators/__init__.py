"""scikit-learn's face of the rooms below: the estimators, and how they are saved and loaded."""
