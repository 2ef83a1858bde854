"""What a frontend says of one neuron of another library: how the array runs it, and how exactly."""

from dataclasses import dataclass

from quadfire.models.neurons.canonical import Canonical

__all__ = ["MappedNeuron"]


@dataclass(frozen=True, kw_only=True)
class MappedNeuron:
    """A neuron of another library in the canonical form.

    | field | meaning |
    |---|---|
    | form | the map w' = w x + J in real numbers, which the array runs |
    | text | the neuron as read, for people: "Leaky(beta=0.9, threshold=1), subtract, delayed" |
    | condition | under which the spikes are the same; empty: always |
    | membrane_delta | the library's potential after a spike is w + membrane_delta (in units of w): 0, |
    |  | or delta where the library subtracts in the next step |
    | window, surrogate | of the spike's derivative, in units of u, for training on |
    """

    form: Canonical
    text: str
    condition: str = ""
    membrane_delta: float = 0.0
    window: float = 1.0
    surrogate: str = "rectangular"

    def canonical(self) -> Canonical:
        """The neuron in canonical form, as the neurons of `quadfire.models.neurons` answer it."""
        return self.form
