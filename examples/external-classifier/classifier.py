"""A classifier behind the policy `external`: a naive Bayes over words, trained at its start on `examples.tsv`.

It is small and it is real: it counts words, and decides by what it has counted. It has seen some hundred sentences, so
it knows little; it shows the shape of a service, in whose place a team's own model stands. Only the standard library.

    python3 classifier.py --port 9100            # serves POST /judge and GET /health
    python3 classifier.py --judge "some text"    # says what it would say
    python3 classifier.py --measure              # tests itself on what it was not trained on
"""

import argparse
import collections
import json
import math
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EXAMPLES = Path(__file__).with_name("examples.tsv")
FINE = "fine"
# What kt sends is at most 8 MiB.
QUESTION_BYTES_MAX = 9 << 20
# How sure it has to be of a category before it refuses.
THRESHOLD = 0.8


def words(text):
    """The words of a text, and pairs of neighbors: 'shut up' says more than both of its words."""
    found = re.findall(r"[a-z']+", text.lower())
    return found + [f"{left} {right}" for left, right in zip(found, found[1:])]


class Classifier:
    """A multinomial naive Bayes with Laplace smoothing."""

    def __init__(self, examples):
        self.texts = collections.Counter(label for label, _ in examples)
        self.counts = collections.defaultdict(collections.Counter)
        for label, text in examples:
            self.counts[label].update(words(text))
        self.known = {word for counts in self.counts.values() for word in counts}

    def probabilities(self, text):
        """How probable each category is, given the words that it knows."""
        found = [word for word in words(text) if word in self.known]
        scores = {}
        for label, count in self.texts.items():
            counts = self.counts[label]
            total = sum(counts.values()) + len(self.known)
            scores[label] = math.log(count / sum(self.texts.values()))
            scores[label] += sum(math.log((counts[word] + 1) / total) for word in found)
        highest = max(scores.values())
        weights = {label: math.exp(score - highest) for label, score in scores.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    def category(self, text):
        """The category of a text, `fine` where it is not sure."""
        label, probability = max(self.probabilities(text).items(), key=lambda item: item[1])
        return label if probability >= THRESHOLD else FINE

    def judge(self, texts):
        """What the policy is told: each sentence is looked at by itself."""
        sentences = [part for text in texts for part in re.split(r"(?<=[.!?])\s+|\n", text) if part.strip()]
        found = sorted({self.category(sentence) for sentence in sentences} - {FINE})
        return {"action": "block" if found else "allow", "categories": found}


def read(path=EXAMPLES):
    """The labeled sentences: one a line, its label before a tab."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [tuple(line.split("\t", 1)) for line in lines]


def measure():
    """Leaves each fifth out in turn, and judges it by the rest: recall and precision of what is refused."""
    examples = read()
    hits = misses = false = 0
    for fold in range(5):
        trained = Classifier([it for at, it in enumerate(examples) if at % 5 != fold])
        for label, text in examples[fold::5]:
            is_found = trained.category(text) != FINE
            hits += is_found and label != FINE
            misses += not is_found and label != FINE
            false += is_found and label == FINE
    return {"examples": len(examples), "recall": round(hits / (hits + misses), 2),
            "precision": round(hits / max(hits + false, 1), 2)}


class Handler(BaseHTTPRequestHandler):
    """The wire: a question of kt's, and its answer."""

    protocol_version = "HTTP/1.1"
    classifier = None

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if self.path != "/judge" or length > QUESTION_BYTES_MAX:
            self.close_connection = True
            self.answer(404 if self.path != "/judge" else 413, {"error": "POST /judge, at most 9 MiB"})
            return
        try:
            texts = json.loads(self.rfile.read(length))["texts"]
            said = self.classifier.judge([text for text in texts if isinstance(text, str)])
        except (ValueError, KeyError, TypeError) as error:
            self.answer(400, {"error": repr(error)})
            return
        self.answer(200, said)

    def do_GET(self):
        self.answer(200 if self.path == "/health" else 404, {"examples": sum(self.classifier.texts.values())})

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing of a request goes into a log."""


def main():
    arguments = argparse.ArgumentParser(description="A small classifier for the policy 'external'")
    arguments.add_argument("--port", type=int, default=9100)
    arguments.add_argument("--judge", metavar="TEXT")
    arguments.add_argument("--measure", action="store_true")
    arguments = arguments.parse_args()
    if arguments.measure:
        print(json.dumps(measure()))
        return
    classifier = Classifier(read())
    if arguments.judge is not None:
        print(json.dumps(classifier.judge([arguments.judge])))
        return
    Handler.classifier = classifier
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    print(f"ready on 127.0.0.1:{server.server_port}, trained on {len(read())} sentences", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
