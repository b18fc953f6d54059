import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { ask, pageOf, registerTill } from '../support/client/backchannel.ts';
import { registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { logIn, setScene, type Scene } from '../support/person/pages.ts';

describe('the offer to remember a decision', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  it('is not made where a device waits, and is not taken from a form (FIELD-D5)', async () => {
    const tv = await registerDevice(scene.gatehouse);
    const { user_code } = await requestDevice(scene.gatehouse, tv);
    const page = await scene.visit();
    await page.goto(`${scene.gatehouse.issuer}/device`);
    await page.getByLabel('Code').fill(user_code);
    await page.getByRole('button', { name: 'Continue' }).click();
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('heading', { name: 'Allow Living-room TV?' }).waitFor();
    assert.equal(await page.getByLabel('Remember this decision').count(), 0);
    const form = { decision: 'allow', remember: 'on' };
    await page.request.post(`${page.url()}/consent`, { form });
    const admin = await Admin.of(scene.gatehouse);
    const { items } = (await admin.get('/audit-events?event=consent.given')).body;
    const given = items.filter((event) => event.client_id === tv.client_id);
    assert.deepEqual(
      given.map(({ details }) => (details as { remembered: boolean }).remembered),
      [false],
    );
  });

  it('is not made where a request over the backchannel waits (FIELD-D5)', async () => {
    const asked = await ask(scene.gatehouse, await registerTill(scene.gatehouse));
    const page = await scene.visit();
    await page.goto(pageOf(scene.gatehouse, asked));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Approve' }).waitFor();
    assert.equal(await page.getByLabel('Remember').count(), 0);
  });

  it('is made to the person whom an application sent (FIELD-D5)', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    await logIn(page, scene.gatehouse.account);
    assert.equal(await page.getByLabel('Remember this decision').count(), 1);
  });
});
