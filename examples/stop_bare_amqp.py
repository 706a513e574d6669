"""Stop a job with nothing but an AMQP client: a command is a message, as a submission is."""

import json
import os
import sys

from submit_bare_amqp import ask

if __name__ == "__main__":
    url = os.environ["JOBSERVICE_AMQP_URL"]
    print(json.dumps(ask(url, "jobservice.command", "acme", {"command": "stop", "job_id": sys.argv[1]})))
