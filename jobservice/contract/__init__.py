"""The written contract: what goes over the broker, as models, JSON Schemas and an AsyncAPI document.

`./dev schemas` writes `docs/contract/` from it. No daemon and no client reads it at work: the doors have rules of their
own, and the tests hold both against each other.
"""
