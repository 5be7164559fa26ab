# TORCH_INDEX is the package index of a build of PyTorch, as PyTorch's "Get started" page names it: one
# for the CPU, one for each version of CUDA. Without it pip's own index is used, whose build for Linux on
# x86-64 is large, has CUDA in it, and runs on a CPU as well.
#   CPU:   docker build --build-arg TORCH_INDEX=URL_FOR_CPU --tag animateanywhere .
#          docker run --rm --volume "$PWD:/data" animateanywhere demo --fast
#   CUDA:  docker build --build-arg TORCH_INDEX=URL_FOR_CUDA --tag animateanywhere:cuda .
#          docker run --rm --gpus all --volume "$PWD:/data" animateanywhere:cuda bases
FROM python:3.13-slim

WORKDIR /opt/animateanywhere
COPY constraints.txt ./
ARG TORCH_INDEX=
RUN pip install --no-cache-dir --constraint constraints.txt \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

COPY pyproject.toml README.md LICENSE ./
COPY animateanywhere ./animateanywhere
COPY recipes ./recipes
COPY examples ./examples
RUN pip install --no-cache-dir --constraint constraints.txt '.[offline]'
ENV AA_CACHE=/opt/animateanywhere/cache
RUN aa models fetch

# Commands read and write here, runs/ too; what a hub sends is kept in runs/hub.
WORKDIR /data
ENV HF_HOME=/data/runs/hub
ENTRYPOINT ["aa"]
CMD ["--help"]
