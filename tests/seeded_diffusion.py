"""Small seeded models in memory, dense and MoE."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from catalog.model_table import MODELS
from servers.huggingface.diffusion.backbone import Backbone
from servers.huggingface.diffusion.decoder import DiffusionDecoder
from servers.huggingface.diffusion.experts import use
from servers.huggingface.diffusion.options import DiffusionOptions
from servers.huggingface.diffusion.seeded import build

Build = Callable[..., DiffusionDecoder]


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """So small, models compute faster in one thread, and much faster beside other tests."""
    torch = pytest.importorskip("torch", reason="the diffusion decoder computes with torch")
    pytest.importorskip("transformers", reason="its models are transformers'")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def built(one_thread: None) -> Callable[[str, int], Backbone]:
    """Build a tiny model with so many layers once."""
    known: dict[tuple[str, int], Backbone] = {}

    def backbone(name: str, layers: int) -> Backbone:
        if (name, layers) not in known:
            row = MODELS[name]
            experts = row.experts and msgspec.structs.replace(row.experts, layers=layers)
            model = msgspec.structs.replace(row, layers=layers, experts=experts)
            known[name, layers] = Backbone(build(model), row.vocab - 1)
        return known[name, layers]

    return backbone


@pytest.fixture
def decoder(built: Callable[[str, int], Backbone]) -> Build:
    def make(name: str, options: DiffusionOptions, *, layers: int = 2) -> DiffusionDecoder:
        backbone = built(name, layers)
        use(backbone.model.config, options.experts)
        return DiffusionDecoder(backbone, options, max_context=2048, eos=frozenset({0}))

    return make
