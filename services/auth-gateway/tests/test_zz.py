async def test_x(fleet, people):
    a = await people.person()
    w = await people.workspace(a)
    r = await a.http.get(f"/v1/documents?workspace_id={w}")
    print(r.status_code, r.text, r.headers)
    r = await a.http.get("/v1/users/me")
    print(r.status_code, r.text, r.headers)
