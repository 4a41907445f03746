"""Names that refer to models: aliases, fallbacks, tiers. All of them lead straight to models once they are read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policies.catalog.model import Deployment
from policies.catalog.reader import Reader
from policies.catalog.values import unknown


@dataclass(frozen=True, slots=True)
class Models:
    """Which models there are.

    Attributes:
        deployments: of each model. A model whose tables have mistakes has none here, and a simulated one when the simulator
            is not running, so that what refers to them is not called a mistake as well.
        aliases: from each alias to its model.
        unlisted: models that may be referred to, but are not suggested.
    """

    deployments: Mapping[str, tuple[Deployment, ...]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, deployments: Iterable[Deployment], broken: Iterable[str], simulated: frozenset[str]) -> "Models":
        """Group `deployments` by model; `broken` are models whose tables have mistakes, `simulated` those of the simulator."""
        grouped: dict[str, tuple[Deployment, ...]] = dict.fromkeys((*broken, *simulated), ())
        for deployment in deployments:
            grouped[deployment.model] = (*grouped.get(deployment.model, ()), deployment)
        return cls(grouped, unlisted=frozenset(model for model in simulated if not grouped[model]))

    def resolve(self, name: str, reader: Reader, key: str | None) -> str | None:
        """Return the model that `name` means, or None, and note the mistake at `key`, if there is none."""
        model = self.aliases.get(name, name)
        if model in self.deployments:
            return model
        reader.refuse(key, self.unknown(name))
        return None

    def unknown(self, name: str) -> str:
        """Return the message for a name that is no model."""
        return unknown(
            "model", name, {*self.deployments, *self.aliases}, listed=self.deployments.keys() - self.unlisted
        )

    def resolve_all(self, names: Iterable[str], reader: Reader, key: str) -> tuple[str, ...]:
        """Return the models that `names` mean, each once, without the unknown ones."""
        found = [self.resolve(name, reader, key) for name in names]
        return tuple(dict.fromkeys(model for model in found if model is not None))

    def endpoints(self, model: str) -> frozenset[str]:
        """What at least one deployment of the model answers."""
        return frozenset[str]().union(*(deployment.endpoints for deployment in self.deployments[model]))

    def longest_context(self, model: str) -> int | None:
        """The longest context of the model's deployments in tokens; None if one of them does not tell its own."""
        lengths = [deployment.context_length for deployment in self.deployments[model]]
        known = [length for length in lengths if length is not None]
        return max(known) if known and len(known) == len(lengths) else None


def resolve_aliases(written: Mapping[str, str], models: Models, reader: Reader) -> dict[str, str]:
    """Return the model behind each alias, following aliases of aliases; note those that lead nowhere or in a circle."""
    found: dict[str, str] = {}
    for alias, first in written.items():
        if alias in models.deployments:
            reader.refuse(alias, f'"{alias}" is already the name of a model')
            continue
        passed, target = [alias], first
        while target in written and target not in models.deployments and target not in passed:
            passed.append(target)
            target = written[passed[-1]]
        if target in passed:
            reader.refuse(alias, f"leads in a circle: {' → '.join([*passed, target])}")
        elif target in models.deployments:
            found[alias] = target
        elif len(passed) == 1:
            # An alias of an alias that leads nowhere is not told twice.
            reader.refuse(alias, models.unknown(target))
    return found
