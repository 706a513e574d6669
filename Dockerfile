# The image of the daemon: `docker build -t jobservice .`, then compose.yaml, or any orchestrator.
#
#   docker run … jobservice                    the daemon; JOBSERVICE_DATABASE_URL and JOBSERVICE_AMQP_URL name its servers
#   docker run … jobservice daemon --processes 4       four of them in one container, for four cores
#   docker run … jobservice schema apply       any other command of `jobservice`
#
# A package of your own job classes: put it below /srv/jobservice (COPY in an image FROM this one, or a mount), and name
# it in JOBSERVICE_JOBS__PACKAGES='["workers","my_jobs"]'.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN apt-get update && apt-get install -y --no-install-recommends tini

# What is pinned comes first: it changes seldom, and its layer is kept. Wheels only: there is no compiler, here or later.
COPY requirements/ requirements/
RUN python -m venv --without-pip /opt/jobservice \
 && python -m venv --without-pip /opt/build \
 && pip --python /opt/jobservice/bin/python install --require-hashes --only-binary=:all: -r requirements/run.txt \
 && pip --python /opt/build/bin/python install --require-hashes --only-binary=:all: -r requirements/build.txt

COPY pyproject.toml README.md LICENSE schema.sql ./
COPY jobservice/ jobservice/
RUN pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/jobservice/bin/python install --no-deps --no-index dist/*.whl \
 # A .pth file and not PYTHONPATH: that would reach the programs which jobs run.
 && /opt/jobservice/bin/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "job-packages.pth").write_text("/srv/jobservice\n")'


FROM python:3.13-slim

# PID 1 is tini: it passes SIGTERM on to the daemon, and reaps what programs of jobs leave behind. An orphan becomes a
# child of PID 1, and Python as PID 1 would not know of it. In the image and not `init: true`, which only Docker has.
COPY --from=build /usr/bin/tini /usr/bin/tini

# A number, so that an orchestrator can see that it is not root.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/jobservice --shell /usr/sbin/nologin jobservice \
 && install -d -o jobservice -g jobservice -m 750 /var/lib/jobservice /var/lib/jobservice/workspaces

COPY --from=build /opt/jobservice /opt/jobservice
COPY config/jobservice.toml /etc/jobservice/jobservice.toml
COPY workers/ /srv/jobservice/workers/
RUN /opt/jobservice/bin/python -m compileall -q /srv/jobservice/workers

ENV PATH=/opt/jobservice/bin:$PATH \
    JOBSERVICE_DAEMON__HTTP_HOST=0.0.0.0 \
    JOBSERVICE_DAEMON__HTTP_PORT=8080 \
    JOBSERVICE_WORKSPACE__DIRECTORY=/var/lib/jobservice/workspaces
USER 10001:10001
WORKDIR /var/lib/jobservice
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ['JOBSERVICE_DAEMON__HTTP_PORT']), timeout=4); probe.request('GET', '/livez'); sys.exit(probe.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--", "jobservice"]
CMD ["daemon"]
