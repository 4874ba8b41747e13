# docker build -f containers/gpu.Dockerfile -t exif-jax-gpu .
# docker run --rm --gpus all -v "$PWD:/work" -w /work exif-jax-gpu \
#     --config=/src/configs/vit_b.py --workdir=run --config.data.records=records
# The CUDA libraries come with jax's own wheels; the host needs NVIDIA's driver and container toolkit.
FROM python:3.12-slim
COPY . /src
RUN python -m pip install --no-cache-dir -c /src/constraints.txt '/src[train,data,eval]' 'jax[cuda12]'
ENTRYPOINT ["python", "-m", "exif_jax.train"]
