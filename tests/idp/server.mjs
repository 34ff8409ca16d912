// The identity server of the end-to-end tests: npm's oidc-provider on a free
// loopback port, which it prints as "listening PORT".
//
// Clients, with the secret "<client_id>-secret":
//   app       gets tokens (client_credentials), valid for ten minutes
//   short     gets tokens that are valid for SHORT_SECONDS
//   basic     introspects, credentials by HTTP Basic
//   form      introspects, credentials in the form
// A token is opaque, or a JWT when resource=urn:api:RS256 (ES256, HS256) is
// asked for.
//
// What oidc-provider does not have is added in two places, marked below:
//   POST /control/rotate          new signing keys; ?forget drops the old ones
//   Accept: application/jwt       the phantom token's introspection
import { createSecretKey, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { SignJWT, exportJWK, generateKeyPair, importJWK } from 'jose';
import Provider from 'oidc-provider';

const SHORT_SECONDS = 2;
const SECONDS = 600;
const HMAC_SECRET = 'the tests\' shared secret, 32 bytes at least';

const credentials = (id, method, more) => ({
  client_id: id,
  client_secret: `${id}-secret`,
  token_endpoint_auth_method: method,
  redirect_uris: [],
  response_types: [],
  grant_types: [],
  ...more,
});
const clients = [
  credentials('app', 'client_secret_basic', { grant_types: ['client_credentials'], scope: 'read write' }),
  credentials('short', 'client_secret_basic', { grant_types: ['client_credentials'], scope: 'read write' }),
  credentials('basic', 'client_secret_basic', { introspection_signed_response_alg: 'RS256' }),
  credentials('form', 'client_secret_post', { introspection_signed_response_alg: 'RS256' }),
];

const lifetime = (client) => (client.clientId === 'short' ? SHORT_SECONDS : SECONDS);

async function signingKeys() {
  return Promise.all(['RS256', 'ES256'].map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: randomUUID() };
  }));
}

function newProvider(issuer, keys) {
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys },
    scopes: ['read', 'write'],
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    enabledJWA: { introspectionSigningAlgValues: ['RS256'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo(ctx, resource, client) {
          const alg = resource.split(':').pop();
          const key = alg === 'HS256' ? createSecretKey(HMAC_SECRET, 'utf8') : undefined;
          return {
            scope: 'read write',
            accessTokenFormat: 'jwt',
            accessTokenTTL: lifetime(client),
            jwt: { sign: { alg, key } },
          };
        },
      },
    },
    ttl: { ClientCredentials: (ctx, token, client) => lifetime(client) },
  });

  // Added: a phantom token's introspection answers with a JWT for the upstream,
  // or with 204.
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route !== 'introspection' || ctx.get('Accept') !== 'application/jwt' || ctx.status !== 200) {
      return;
    }
    const { active, ...claims } = ctx.body;
    if (!active) {
      ctx.body = null; // Koa makes this a 204
      return;
    }
    const key = keys.find(({ alg }) => alg === 'RS256');
    ctx.body = await new SignJWT({ sub: claims.client_id, ...claims })
      .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'at+jwt' })
      .sign(await importJWK(key));
    ctx.type = 'application/jwt';
  });
  return provider;
}

let keys = await signingKeys();
let callback;

// The tokens survive: all providers of a process share one store.
const server = createServer(async (request, response) => {
  if (request.url.startsWith('/control/rotate')) {
    keys = [...await signingKeys(), ...(request.url.endsWith('?forget') ? [] : keys)];
    callback = newProvider(issuer, keys).callback();
    response.writeHead(204).end();
    return;
  }
  callback(request, response);
});
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;
callback = newProvider(issuer, keys).callback();
process.stdout.write(`listening ${port}\n`);
