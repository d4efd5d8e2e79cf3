"""Histories of calls, and the judge of whether a single storer that never fails could have them.

A test has its clients record what they do, reads what there is in the end, and has it judged:

    recorder = Recorder()
    client = Client(stub, recorder, "client 1")
    kata_id = client.create_kata(a_manifest(), request_id)
    ...
    final = read_in_the_end(stub, kata_ids(stub))
    check(tmp_path / "history.jsonl", recorder.attempts(), final)
"""
