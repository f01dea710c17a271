"""From what a user has to what the checks talk to: one small adapter for each make.

A framework is imported only when the candidate is made with it.
"""

from bn.check.adapters.recognise import recognise

__all__ = ["recognise"]
