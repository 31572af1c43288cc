"""A parallel layout: how many GPUs one server uses, and how the model is split over them."""

import msgspec

from catalog.errors import BadValue

MOST_GPUS = 4096


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, order=True):
    """Tensor, pipeline and data parallel degrees, and whether experts are spread whole.

    With `ep` each of the tp·dp ranks of a pipeline stage holds count/(tp·dp) whole experts.
    Without it every expert is cut into tp·dp slices, as vLLM does.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: bool = False
    knobs: tuple[tuple[str, str], ...] = ()
    """Options of the layout itself (all-to-all backend, expert balancing), sorted by name."""

    def __post_init__(self) -> None:
        for axis in ("tp", "pp", "dp"):
            if not 1 <= getattr(self, axis) <= MOST_GPUS:
                raise BadValue(axis, getattr(self, axis), f"1 to {MOST_GPUS}")
        if self.num_gpus > MOST_GPUS:
            raise BadValue("GPUs of a layout", self.num_gpus, f"1 to {MOST_GPUS}")

    @property
    def num_gpus(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def ep_degree(self) -> int:
        """Ranks the experts of one layer are spread over; 1 without expert parallelism."""
        return self.tp * self.dp if self.ep else 1

    @property
    def expert_slices(self) -> int:
        """Slices each single expert is cut into."""
        return 1 if self.ep else self.tp * self.dp

    @property
    def bare(self) -> "Layout":
        return msgspec.structs.replace(self, knobs=())

    @property
    def name(self) -> str:
        """The shortest text that parses back to this layout."""
        base = _PAPER_NAMES.get(self.bare) or self._degrees()
        knobs = ",".join(f"{name}={value}" for name, value in self.knobs)
        return f"{base}[{knobs}]" if knobs else base

    def _degrees(self) -> str:
        axes = (("pp", self.pp), ("tp", self.tp), ("dp", self.dp))
        parts = [f"{axis}{degree}" for axis, degree in axes if degree > 1]
        return "+".join([*(parts or ["tp1"]), *(["ep"] if self.ep else [])])


# Table II of «Parallelism Strategies and Concurrency Effects for MoE Inference on GPU Systems».
STANDARD: dict[str, Layout] = {
    "single": Layout(),
    "tp": Layout(tp=2),
    "ep": Layout(dp=2, ep=True),
    "tp+ep": Layout(tp=2, dp=2, ep=True),
}
ALL = tuple(STANDARD)

_PAPER_NAMES = {layout: name for name, layout in STANDARD.items()}
