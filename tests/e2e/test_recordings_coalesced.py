"""Whoever follows another's flight sees what a provider said to the one who leads, through the official SDKs."""

from exchanges import FAULTY, every


@every(lambda exchange: exchange.is_told)
def test_a_follower_sees_what_its_leader_sees(played, python, node, directly, reader, exchange, prompt):
    body = exchange.asked(prompt)
    expected = {sdks.name: directly(sdks, exchange, body).answer for sdks in (python, node)}
    flights, gate = [], exchange.name
    for leader, follower in ((python, node), (node, python)):
        # The gate stays open, so a second leader after a failed one is not held.
        body = exchange.asked(f"{prompt} led by {leader.name}", f"gate={gate}")
        flights.append((leader, leader.send(exchange.ask(played.a.url, reader.secret, body)), follower, body))
    played.provider.wait_at(gate, len(flights))
    followers = [follower.send(exchange.ask(played.b.url, reader.secret, body)) for _, _, follower, body in flights]
    played.sidecar.wait_followers(len(flights))
    played.provider.release(gate)
    for (leader, led, follower, _), followed in zip(flights, followers):
        led, followed = led.result(), followed.result()
        if exchange.is_ours:
            assert led.error["code"] == followed.error["code"] == "upstream_unauthorized"
            continue
        assert (led.cache_status, led.answer) == ("miss", expected[leader.name])
        assert followed.answer == expected[follower.name]
        # After another failure, and after one within a stream that had told it nothing yet, a follower leads itself.
        if exchange.status in (200, 400, 404, 413, 422) and exchange.name not in FAULTY:
            assert followed.cache_status == "coalesced"


@every(lambda exchange: exchange.is_helped and exchange.has_usage)
def test_a_follower_is_told_in_its_own_mode(played, python, node, directly, reader, exchange, prompt):
    gate = f"{exchange.name}-other"
    body = exchange.asked(prompt, f"gate={gate}")
    leader = python.send(exchange.ask(played.a.url, reader.secret, body))
    played.provider.wait_at(gate)
    follower = node.send(exchange.ask(played.b.url, reader.secret, exchange.in_other_mode(body)))
    played.sidecar.wait_followers(1)
    played.provider.release(gate)
    assert leader.result().answer == directly(python, exchange, exchange.asked(prompt)).answer
    told_live = follower.result()
    assert (told_live.error, told_live.cache_status) == (None, "coalesced")
    # What a follower was told live is what the cache tells later.
    replayed = node.ask(exchange.ask(played.a.url, reader.secret, exchange.in_other_mode(body)))
    assert (replayed.cache_status, replayed.answer) == ("hit", told_live.answer)
