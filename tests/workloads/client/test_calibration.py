from workloads.client.calibration import calibrate


async def test_a_calibration_says_what_a_request_and_a_read_cost_here() -> None:
    found = await calibrate(8)
    assert found.concurrency == 8
    assert 1e-6 < found.cpu_s_per_request < 0.1
    assert 1e-7 < found.cpu_s_per_read < 0.01
    assert 0 < found.added_ttft_s < 1
    assert found.requests_per_s > 10
