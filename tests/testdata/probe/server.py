"""The probe as a plugin server of its own, without generated stubs."""

import concurrent.futures

import coprocess_object_pb2 as pb
import grpc
from middleware import play


def dispatch(obj, context):
    print("request", dict(context.invocation_metadata()).get("x-request-id", ""), flush=True)
    response = obj.response if obj.HasField("response") else None
    play(obj.hook_name, obj.request, obj.session, obj.metadata, obj.spec, response)
    return obj


def dispatch_event(event, context):
    print("event", event.payload, flush=True)
    return pb.EventReply()


def handler(function, request, reply):
    return grpc.unary_unary_rpc_method_handler(
        function, request_deserializer=request.FromString, response_serializer=reply.SerializeToString
    )


server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers(
    (
        grpc.method_handlers_generic_handler(
            "coprocess.Dispatcher",
            {
                "Dispatch": handler(dispatch, pb.Object, pb.Object),
                "DispatchEvent": handler(dispatch_event, pb.Event, pb.EventReply),
            },
        ),
    )
)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("port", port, flush=True)
server.wait_for_termination()
