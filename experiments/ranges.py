"""The types of configuration keys: a type, the least value and, where there is one, the largest."""

import typing

Count = typing.Annotated[int, 1]
Natural = typing.Annotated[int, 0]
Positive = typing.Annotated[float, 1e-12]
Least0 = typing.Annotated[float, 0.0]
Share = typing.Annotated[float, 0.0, 1.0]
Decay = typing.Annotated[float, 0.0, 0.999999]
Dtype = typing.Literal["float32", "bfloat16"]  # of matmuls
Remat = typing.Literal["none", "dots", "full"]
