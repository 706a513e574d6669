"""A map from a picture of the earth, in two stages: every tile is processed, then, once somebody agrees, uploaded."""
