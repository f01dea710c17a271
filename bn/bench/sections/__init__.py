"""What is measured: one module for each section of the bench."""

from bn.bench.plan import Section
from bn.bench.sections import (
    accuracy,
    allocation,
    bandwidth,
    fused,
    gpu,
    growth,
    layers,
    memory,
    training,
)

#: In the order in which they are measured.
SECTIONS: dict[str, Section] = {
    module.SECTION.name: module.SECTION
    for module in (
        bandwidth, layers, fused, training, allocation, growth, memory, accuracy, gpu
    )
}  # fmt: skip
